"""A page of html as a browser reads it, for tests of what it says."""

from html.parser import HTMLParser

VOID = {'meta', 'input', 'option', 'br', 'image', 'use', 'link'}


class Page(HTMLParser):
    """Tables as lists of rows of texts, all tags with their attributes, and the text of each."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.texts, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        """Open a tag, a row, a cell."""
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == 'table':
            self.tables.append([])
        elif tag == 'tr':
            self.tables[-1].append([])
        elif tag in ('td', 'th'):
            self.tables[-1][-1].append('')

    def handle_startendtag(self, tag, attributes):
        """A tag without content."""
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        """Every tag is closed in order."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Text, also that of the cell it is in."""
        self.texts.append(data.strip())
        if {'td', 'th'} & set(self.open) and 'title' not in self.open:
            self.tables[-1][-1][-1] += data.strip()

    def of(self, tag):
        """Attributes of all tags of a name."""
        return [attributes for name, attributes in self.tags if name == tag]
