//! Puts the stylesheets and scripts together, each kind into one file in the order of its `ORDER`, and hands them to memory-serve,
//! which hashes, compresses and embeds them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=static");
    println!("cargo:rerun-if-changed=migrations");
    #[expect(clippy::disallowed_methods, reason = "cargo tells a build script by the environment")]
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?).join("assets");
    fs::create_dir_all(&out)?;
    fs::write(out.join("app.css"), together(Path::new("static/css"))?)?;
    fs::write(out.join("app.js"), together(Path::new("static/js"))?)?;
    fs::copy("static/icons/sprite.svg", out.join("icons.svg"))?;
    fs::copy("static/icons/favicon.svg", out.join("favicon.svg"))?;
    memory_serve::load_directory(out.display().to_string());
    // memory-serve has cargo watch this directory. What is newer than this run of the script would have the next build run it again.
    for entry in fs::read_dir(&out)? {
        File::open(entry?.path())?.set_modified(SystemTime::UNIX_EPOCH)?;
    }
    File::open(&out)?.set_modified(SystemTime::UNIX_EPOCH)
}

fn together(dir: &Path) -> io::Result<String> {
    let order = fs::read_to_string(dir.join("ORDER"))?;
    let mut all = String::new();
    for name in order.lines().map(str::trim).filter(|name| !name.is_empty()) {
        all.push_str(&fs::read_to_string(dir.join(name))?);
        all.push('\n');
    }
    Ok(all)
}
