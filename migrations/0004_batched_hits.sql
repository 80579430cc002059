-- One statement counts several calls of an agent: how many of them it let through.
alter table rate_limits alter column allowed type integer using allowed::integer;
alter table rate_limits rename column allowed to granted;
