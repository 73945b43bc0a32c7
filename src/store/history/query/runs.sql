-- The newest runs that fit. An absent parameter fits everything.
-- Few series are wanted of many: looking for each run's estimate of one (CROSS JOIN keeps the order)
-- takes a step down a tree, looking through each run's estimates takes all of them.
WITH wanted AS MATERIALIZED (
    SELECT number FROM series
    WHERE (?4 IS NULL OR backend = ?4)
      AND (?5 IS NULL OR workload = ?5)
      AND (?6 IS NULL OR metric = ?6))
SELECT number, id, started, profile, tool, tool_commit, payload, cpu, kernel, kvm,
       project_commit, project_modified, project_branch, ended_early, inconclusive, folder
FROM run
WHERE (?1 IS NULL OR project_branch = ?1)
  AND (?2 IS NULL OR started >= ?2)
  AND (?3 IS NULL OR id = ?3)
  AND (?4 IS NULL AND ?5 IS NULL AND ?6 IS NULL OR EXISTS (
      SELECT 1 FROM wanted CROSS JOIN estimate
      WHERE estimate.series = wanted.number AND estimate.run = run.number))
ORDER BY started DESC, number DESC
LIMIT ?7
