-- Series that no run has any more.
DELETE FROM series WHERE number NOT IN (SELECT series FROM estimate)
