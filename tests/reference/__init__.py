"""The papers a second time, slow and plain: what the tests hold mmlattn's own mathematics against."""
