//! Where a mesh's database is. No secret is in it: a server's password lies in a file of its own.

use serde::Deserialize;
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Where a mesh's database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of SQLite's, for one controller.
    File(PathBuf),
    /// A database of a PostgreSQL server, for several.
    Server(Server),
}

/// A database of a PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it is and who asks.
    pub url: ServerUrl,
    /// The file with the password; `None` where the server asks for none, or libpq's own ways give it.
    pub password_file: Option<PathBuf>,
}

/// `postgres://…`, without a password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ServerUrl(String);

impl ServerUrl {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = &'static str;

    /// What is wrong with it is said without showing it: it may hold a password.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let url: reqwest::Url = text.parse().map_err(|_| "this is no URL: write `postgres://user@host/name`")?;
        if !["postgres", "postgresql"].contains(&url.scheme()) {
            return Err(
                "only `postgres://` is known here; without this line the database is a file in the state folder",
            );
        }
        if url.password().is_some() || url.query_pairs().any(|(key, _)| key == "password") {
            return Err("a password is in this URL: write it into a file and name that in `database_password_file`");
        }
        Ok(Self(text))
    }
}

impl Place {
    /// The database of a configuration: that of a server where one is named, else the file.
    pub fn of(server: Option<&ServerUrl>, password_file: Option<&Path>, file: PathBuf) -> Self {
        let server = server.cloned().map(|url| Server { url, password_file: password_file.map(Path::to_owned) });
        server.map_or(Self::File(file), Self::Server)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(server) => f.write_str(&server.url.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_password_or_of_something_else_is_refused_unseen() {
        let check = |url: &str, expect: &str| {
            let error = ServerUrl::try_from(url.to_owned()).unwrap_err();
            assert!(error.contains(expect) && !error.contains("hunter2"), "{url}: {error}");
        };
        check("postgres://picket:hunter2@db/picket", "database_password_file");
        check("postgres://picket@db/picket?password=hunter2", "database_password_file");
        check("mysql://picket:hunter2@db/picket", "postgres://");
        check("/var/lib/hunter2", "no URL");
        for url in ["postgres://picket@db/picket?sslmode=verify-full", "postgresql:///picket?host=/run/postgresql"] {
            assert_eq!(ServerUrl::try_from(url.to_owned()).unwrap().as_str(), url);
        }
    }
}
