"""What may be wrong with data sets that load without an error.

``splits`` makes arrays of the items of a data set, ``labels`` looks at those alone, ``pictures`` at the files and
``duplicates`` at what they share. Each gives ``findings``: numbers in, findings out, nothing is printed here.
"""
