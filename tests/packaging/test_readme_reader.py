"""README examples are found by their markers, and a missing one is an error that says so."""

from __future__ import annotations

import pytest

from tests.packaging import readme

TEXT = """
<!-- example: server -->
```python
serve("127.0.0.1:50051")
```
Text between.
```python
not_an_example()
```
<!-- example: client -->

```python
call("127.0.0.1:50051")
```
<!-- example: other -->
```python
print()
```
"""


def test_each_block_is_found_and_gets_the_address() -> None:
    assert readme.example("server", "127.0.0.1:7", TEXT) == 'serve("127.0.0.1:7")\n'
    assert readme.example("client", "127.0.0.1:7", TEXT) == 'call("127.0.0.1:7")\n'


@pytest.mark.parametrize(("name", "message"), [("missing", "no code block"), ("other", "does not use the address")])
def test_what_is_wrong_is_said(name: str, message: str) -> None:
    with pytest.raises(LookupError, match=message):
        readme.example(name, "127.0.0.1:7", TEXT)
