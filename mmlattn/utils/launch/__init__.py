"""What the tools share: flags, the config they make of them, processes, readable errors.

Nothing heavy is imported at the top, so that ``-h`` answers at once.
"""
