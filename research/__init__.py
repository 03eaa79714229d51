"""What do we tell, record and promote? The one package that may import all the others.

Nothing is imported here: the command line answers at once, and pays for what it uses.
"""

__all__: list[str] = []
