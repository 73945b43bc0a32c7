-- All but the newest.
DELETE FROM run WHERE number NOT IN (SELECT number FROM run ORDER BY started DESC, number DESC LIMIT ?1)
