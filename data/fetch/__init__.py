"""How do the files that venues publish come to this machine, whole or not at all?"""
