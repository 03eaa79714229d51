"""What do venues publish about the margin they ask?"""
