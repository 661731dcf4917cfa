"""ML-Decoder (Ridnik et al., WACV 2023).

``decoder.py``  the equations: fixed queries, one look at the map, group decoding
``head.py``     ``MLDecoderHead``, which brings a backbone's features to them
"""
