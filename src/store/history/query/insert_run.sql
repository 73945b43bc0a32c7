INSERT INTO run (
    id, started, profile, tool, tool_commit, payload, cpu, kernel, kvm,
    project_commit, project_modified, project_branch, ended_early, inconclusive, folder
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
ON CONFLICT (id) DO NOTHING
