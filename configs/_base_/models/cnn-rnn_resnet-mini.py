# The backbone of the linear baseline of MultiDigits, with a decoder in place of the classifier.
_base_ = './linear_resnet-mini.py'

model = dict(
    head=dict(
        _delete_=True,
        type='mmlattn.CNNRNNHead',
        num_classes=10,
        in_channels=64,
        decoder=dict(type='joint', embed_dims=64, hidden_dims=128, dropout=0.0),
        aux_bce=1.0,  # the backbone starts from nothing
        with_evidence=True,
    ),
)
