# cmake -DINPUT=file -DOUTPUT=file.c -DNAME=symbol -P Embed.cmake: the file's bytes, NUL-terminated, as a C array.
file(READ ${INPUT} hex HEX)
string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
get_filename_component(source ${INPUT} NAME)
file(WRITE ${OUTPUT} "/* ${source}, made by cmake/Embed.cmake */\nextern const char ${NAME}[];\nconst char ${NAME}[] = {\n${bytes}\n0x00};\n")
