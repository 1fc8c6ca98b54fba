"""The report on a conversion: its content, and its forms: text, terminal, HTML page, JSON, other tools' formats."""
