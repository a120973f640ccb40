//! Concatenates the stylesheets and the scripts, each kind into one file in the order of its
//! `ORDER`, and passes them to memory-serve, which hashes, compresses and embeds them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=static");
    println!("cargo:rerun-if-changed=migrations");
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo tells a build script by the environment"
    )]
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?).join("assets");
    fs::create_dir_all(&out)?;
    fs::write(out.join("app.css"), concatenate(Path::new("static/css"))?)?;
    fs::write(out.join("app.js"), concatenate(Path::new("static/js"))?)?;
    fs::copy("static/icons/sprite.svg", out.join("icons.svg"))?;
    fs::copy("static/icons/favicon.svg", out.join("favicon.svg"))?;
    memory_serve::load_directory(out.display().to_string());
    // memory-serve has cargo watch this directory. A file in it that is newer than this run of the
    // script would start the script again in the next build, so all files get an old modification
    // time.
    for entry in fs::read_dir(&out)? {
        File::open(entry?.path())?.set_modified(SystemTime::UNIX_EPOCH)?;
    }
    File::open(&out)?.set_modified(SystemTime::UNIX_EPOCH)
}

fn concatenate(dir: &Path) -> io::Result<String> {
    let order = fs::read_to_string(dir.join("ORDER"))?;
    let mut all = String::new();
    for name in order.lines().map(str::trim).filter(|name| !name.is_empty()) {
        all.push_str(&fs::read_to_string(dir.join(name))?);
        all.push('\n');
    }
    Ok(all)
}
