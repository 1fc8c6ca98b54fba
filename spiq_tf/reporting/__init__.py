"""The report on a conversion: what is known of it, and its forms as text, in a terminal, as a page and as JSON."""
