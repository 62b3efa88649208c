"""Weight-free localizers, one file a method.

ADQ3 (Amerini, Becarelli, Caldelli and Del Mastio, "Splicing forgeries localization through the use of first digit
features", WIFS 2014) is left out on purpose. It is ten support vector machines on histograms of first digits, and all
of its evidence is in the trained machines. They exist only as pickled arrays (32 MB) inside pyIFD, which cannot be
read without executing code, and machines that we trained would not be theirs.
"""
