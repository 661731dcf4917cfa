"""Trained models that are given to others: one file, or a folder that a hub can hold.

* ``publishing``: what of a checkpoint is published, under which name, and what is told beside it.
* ``config_data``: a config as data, and which data from others may become a model.
* ``folders``: a folder with weights, config and card; a model from one.
* ``cards``: the text about a model for people.
* ``remote``: to and from huggingface_hub.
"""
