export const requestTopic = "bench-requests";
export const answerTopic = "bench-answers";
