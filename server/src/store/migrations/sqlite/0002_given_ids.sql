-- An agent may be registered under an id that another system gave it; then the two ids mean the same agent.
ALTER TABLE agents ADD COLUMN id_given INTEGER NOT NULL DEFAULT 0;

-- Every id that an agent ever had, and whose it was. An id that was given can be given again, to the same agent alone.
CREATE TABLE agent_ids (
    id          INTEGER PRIMARY KEY,
    -- NULL: of an agent that was deleted before this was kept.
    project_key TEXT,
    name        TEXT
) STRICT;

INSERT INTO agent_ids (id, project_key, name) SELECT id, project_key, name FROM agents;

INSERT OR IGNORE INTO agent_ids (id)
WITH RECURSIVE ids (id) AS (
    SELECT 1
    UNION ALL
    SELECT id + 1 FROM ids WHERE id <= (SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'agents')
)
SELECT id FROM ids WHERE id <= (SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'agents');

CREATE TRIGGER agents_ids AFTER INSERT ON agents
BEGIN INSERT OR IGNORE INTO agent_ids (id, project_key, name) VALUES (NEW.id, NEW.project_key, NEW.name); END;
