-- Run once by the PostgreSQL image on an empty volume: one database for each service.
CREATE DATABASE airflow;
CREATE DATABASE lake;
CREATE DATABASE mlflow;
