"""What is the arithmetic, with no objects in it?"""
