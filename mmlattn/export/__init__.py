"""A trained classifier as one file that stands alone: ONNX, a program of PyTorch, or OpenVINO.

``contract.py``      names, axes and meanings of the outputs, the same for every model
``wrapper.py``       a classifier as a function from pictures to these outputs, which can be traced
``folding.py``       constants worked out before: batch normalisation, the norms of CSRA's rows
``picture_rule.py``  the test pipeline as plain steps: load, resize, crop
``label_rule.py``    how scores become labels, as plain numbers
``metadata.py``      all that a reader of the file has to know, and where each format keeps it
``formats.py``       writing the three formats, and running what was written
``parity.py``        what the file says, beside what ``predict`` says
``quantize.py``      8-bit weights and activations, by onnxruntime
"""
