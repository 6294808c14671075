"""The report as one page: reports/index.html, which needs neither a server nor a network."""
