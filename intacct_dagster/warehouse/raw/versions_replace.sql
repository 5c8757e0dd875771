-- A row is a row of a contested unit, whose version that counts is about to be put in its place.
DELETE FROM {{current}} WHERE rowid IN (SELECT place FROM temp.main.standing)
