"""Pages of html that stand alone: one file, no network, no library of scripts.

    pictures.py    pictures as data within the page
    tables.py      tables with a ground that says how much, and the colours of that ground
    render.py      a template of templates/ with a context becomes the text of a page
    findings.py    what of a test is worth looking at: arrays in, rows of pictures and counts out
    errors.py      the page of tools/analysis_tools/show_errors.py

A page of one's own: a template that extends ``page.html.j2``, whose macros draw what the first two files make.
"""
