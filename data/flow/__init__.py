"""What do trades and books say between two prices: bars, depth, and the flow of orders?"""
