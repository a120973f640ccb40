// How well a title and a sentence fit what is searched for, the best being 0: the very title, a title that begins so, a word of it that
// does, a part of it, the sentence. Infinity: not at all.
const rankOf = (title, about, wanted) => {
  const name = title.trim().toLowerCase();
  if (name === wanted) return 0;
  const at = name.indexOf(wanted);
  if (at === 0) return 1;
  if (at > 0) return name[at - 1] === " " ? 2 : 3;
  return about.toLowerCase().includes(wanted) ? 4 : Infinity;
};
