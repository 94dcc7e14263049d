"""Stand-in for ``slicer.i18n``: texts stay as they are."""


def tr(text, context=None):
    """The text itself; in Slicer its translation in the given context."""
    return text


def translate(context, text):
    """The text itself; in Slicer its translation in the given context."""
    return text
