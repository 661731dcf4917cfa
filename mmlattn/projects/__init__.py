"""A project of one's own: from pictures and labels to a config. ``tools/new_project.py`` puts the parts together.

``survey.py``       what the pictures are: sizes, and which are the same file twice
``splitting.py``    train, val and test
``proposals.py``    which backbone, size, batch and schedule
``config_text.py``  the config, as text
``summary.py``      what is said of the data
``folder.py``       the folder of the project, written whole or not at all
"""
