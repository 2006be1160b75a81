"""The pages: the lists, statistics and the trail of acts, as plain HTML that scripts make live."""
