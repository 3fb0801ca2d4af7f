"""The shapes in which people have images: folders, tables, lists, arrays, pickles."""
