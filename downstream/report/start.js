// Everything is there: show what the address asks for.

document.body.classList.remove("without-script");
setTheme(remember());
addEventListener("hashchange", route);
route();
