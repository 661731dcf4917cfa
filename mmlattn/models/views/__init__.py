"""Several looks at one picture, and one decision on their averaged scores.

``feature_crops.py``          crops of a feature map: where they lie, and what they saw put back into the whole
``multi_crop_classifier.py``  ``MultiCropClassifier``: testing with five or ten crops
``tta.py``                    ``MultiLabelTTAModel``: test-time augmentation
``placing.py``                boxes and maps of a view, in the frame of the picture
``decision.py``               from averaged scores to labels, by the rule of the head
"""
