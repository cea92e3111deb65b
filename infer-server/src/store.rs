//! Files that outlive the server, as databases of redb: opened and checked in one way.

use std::path::Path;

use redb::{Database, ReadableTable as _, TableDefinition, WriteTransaction};

use crate::panics::caught;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The format of a file, in [`META`].
const FORMAT: &str = "format";

/// What a file is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// The option that names the file.
    pub(crate) option: &'static str,
    /// The format that this server writes.
    pub(crate) format: u64,
    /// Whether the checksums of all pages are looked at, which reads the whole file.
    pub(crate) checked: bool,
    /// Makes the tables that are missing.
    pub(crate) tables: fn(&WriteTransaction) -> Result<(), redb::Error>,
}

/// Why a file cannot be used.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) problem: String,
    pub(crate) cure: String,
    /// Whether the file itself is at fault: it is no database, or a damaged one.
    pub(crate) damaged: bool,
}

impl Kind {
    fn fault(&self, problem: impl ToString, cure: &str) -> Fault {
        Fault { problem: problem.to_string(), cure: format!("{cure} with {}", self.option), damaged: false }
    }

    fn damaged(&self, problem: impl ToString) -> Fault {
        Fault { damaged: true, ..self.fault(problem, "Delete the file, or name another") }
    }

    /// Opens or makes the file.
    pub(crate) fn open(&self, path: &Path) -> Result<Database, Fault> {
        // redb panics over some damage.
        caught(|| self.open_whole(path)).unwrap_or_else(|problem| Err(self.damaged(problem)))
    }

    fn open_whole(&self, path: &Path) -> Result<Database, Fault> {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        let mut database = Database::create(path).map_err(|error| match &error {
            redb::DatabaseError::DatabaseAlreadyOpen => {
                self.fault(error, "Stop the server that uses it, or name another")
            }
            redb::DatabaseError::Storage(redb::StorageError::Io(problem))
                if !matches!(problem.kind(), InvalidData | UnexpectedEof) =>
            {
                self.fault(error, "Name a file that can be written")
            }
            _ => self.damaged(error),
        })?;
        if self.checked {
            database.check_integrity().map_err(|error| self.damaged(error))?;
        }
        let found = self.prepare(&database).map_err(|error| self.damaged(error))?;
        if found != self.format {
            let problem = format!("it has format {found}, and this server writes {}", self.format);
            return Err(self.fault(problem, "Start the server that wrote it, or name another"));
        }
        Ok(database)
    }

    /// Makes what is missing; the format that the file has.
    pub(crate) fn prepare(&self, database: &Database) -> Result<u64, redb::Error> {
        let transaction = database.begin_write()?;
        (self.tables)(&transaction)?;
        let format = {
            let mut meta = transaction.open_table(META)?;
            let known = meta.get(FORMAT)?.map(|format| format.value());
            match known {
                Some(format) => format,
                None => {
                    meta.insert(FORMAT, self.format)?;
                    self.format
                }
            }
        };
        transaction.commit()?;
        Ok(format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { option: "--file", format: 2, checked: true, tables: |_| Ok(()) };

    #[test]
    fn each_fault_has_its_cure() {
        let folder = tempfile::tempdir().unwrap();
        let (file, text) = (folder.path().join("a.redb"), folder.path().join("notes.txt"));
        let first = KIND.open(&file).unwrap();
        let fault = |kind: Kind, path: &Path| kind.open(path).map(drop).unwrap_err();
        let busy = fault(KIND, &file);
        assert_eq!((&*busy.cure, busy.damaged), ("Stop the server that uses it, or name another with --file", false));
        drop(first);
        let newer = fault(Kind { format: 3, ..KIND }, &file);
        assert_eq!(newer.problem, "it has format 2, and this server writes 3");
        assert_eq!(
            (&*newer.cure, newer.damaged),
            ("Start the server that wrote it, or name another with --file", false)
        );
        std::fs::write(&text, "not a database, but a text of some length").unwrap();
        let other = fault(KIND, &text);
        assert_eq!((&*other.cure, other.damaged), ("Delete the file, or name another with --file", true));
        let nowhere = fault(KIND, &folder.path().join("nowhere/a.redb"));
        assert_eq!((&*nowhere.cure, nowhere.damaged), ("Name a file that can be written with --file", false));
        // As good as before.
        KIND.open(&file).unwrap();
    }
}
