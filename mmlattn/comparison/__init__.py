"""Which head for my data: several heads above one frozen backbone, trained alike on its stored features.

``data.py``       the three splits of a config, their labels, and what identifies them
``map_files.py``  feature maps in a file that is written whole, resumed, and read without being copied
``features.py``   the frozen backbone run once for each split and view
``stored.py``     what a Runner trains on: stored features as a data set, and a backbone that hands them on
``presets.py``    the heads that have a name
``candidates.py`` what is compared: a neck, a head, and how they are trained; from presets and from configs
``training.py``   one training with one learning rate and one seed
``grid.py``       all trainings of a comparison, and the choice of the learning rate
``cost.py``       parameters, time and memory of a training step
``scoring.py``    what is reported of predictions, with paired differences
``finetuning.py`` the whole network end to end, from a trained head
``head_configs.py`` the heads as configs for every other tool
``report.py``     table, picture and json
"""
