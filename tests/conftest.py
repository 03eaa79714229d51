"""What every test may ask for, and what the command line may say to them."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", metavar="DIR", help="run the golden cases of DIR instead of the project's own")
