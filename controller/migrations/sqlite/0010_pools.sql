-- The pool that a join token gives, and the one a host was given as it joined. NULL is none: that of tokens and hosts from before.
ALTER TABLE tokens ADD COLUMN pool TEXT;
ALTER TABLE nodes ADD COLUMN pool TEXT;
