"""Requests answered in batches: cheaper than one by one, within a day instead of a second.

    files        the two files of the interface, which other engines read and write too
    book         which request stands in which batch: tables in the response cache
    submission   requests put into batches that the endpoint takes
    following    open batches followed to their end, whoever submitted them
    harvest      what a batch brought, line by line
    service      the endpoint's interface over the wire
    state        what that says

Only `service` loads the library that it speaks through.
"""
