DELETE FROM run WHERE started < ?1
