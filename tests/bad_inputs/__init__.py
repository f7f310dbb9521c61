"""Bad inputs of every public function, and what has to be said of each.

One module for each room, with a list `CASES`; :mod:`tests.test_bad_inputs` calls them.
"""
