"""Reference pages."""


def configuration(schema):
    return ""


def nginx():
    return ""
