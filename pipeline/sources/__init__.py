"""Sources: images that lie inside other things, as folders of objects: members of archives, frames, rows, addresses."""
