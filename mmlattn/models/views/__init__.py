"""Several looks at one picture, and one decision on their averaged scores.

``feature_crops.py``          crops of a feature map: where they lie, and what they saw put back into the whole
``multi_crop_classifier.py``  ``MultiCropClassifier``: testing with five or ten crops
``tta.py``                    ``DecidingTTA``: test-time augmentation
``decision.py``               from averaged scores to labels, by the rule of the head
"""
