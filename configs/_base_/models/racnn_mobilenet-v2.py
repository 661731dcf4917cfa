# RA-CNN around one MobileNetV2 that sees 128 x 128 pixels at each of three scales.
# First the picture made smaller, then two squares out of the picture as it is.
_base_ = './plain_mobilenet-v2.py'

model = dict(
    type='mmlattn.RACNN',
    num_scales=3,
    shared=True,
    localizer=dict(type='mmlattn.ActivationLocalizer', side=0.7),
    glance=128,
    # Sharpness times the side of a view is 16, as in racnn_resnet-mini.py.
    crop=dict(size=128, grad='boxcar', sharpness=0.125, shrink=0.0125, resample_from='image', antialias=True),
    fusion=None,
    with_evidence=True,
)
