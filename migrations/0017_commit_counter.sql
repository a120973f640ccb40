-- Which catalogue this is (one row, made by the program) and how many times a version was committed or dropped in it. The file
-- chatlake.commit in the data directory repeats both, so that a copy which is older than the directory is noticed.
CREATE TABLE catalogue (
    id      TEXT NOT NULL PRIMARY KEY,
    commits BIGINT NOT NULL DEFAULT 0
);
