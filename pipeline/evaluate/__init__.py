"""A model beside standard codecs on the same images."""
