"""The commands of the command line, one file each; `bench.cli` finds them by listing this folder."""
