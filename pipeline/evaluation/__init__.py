"""Rate, fidelity and speed of a model beside other codecs, measured on given images."""
