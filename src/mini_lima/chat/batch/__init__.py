"""Requests answered in batches: cheaper than one by one, within a day instead of a second.

    poll_batches  batches from the submission to the last answer, whoever submitted them
    batch_table   which request stands in which batch: tables in the response cache
    files         what goes to the interface and comes back, which other engines read and write too
    service       the endpoint's interface over the wire

Only `service` loads the library that it speaks through.
"""
